"""What is checked before a request's fields: the key, the size, the time, the form."""

import asyncio
import hmac
import json

from serving.errors import ApiError, invalid


def authorize(request, keys):
    """Raises ApiError unless the request has one of the keys, where there are any."""
    if not keys:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = key.strip().encode() if scheme.lower() == "bearer" else b""
    # All are compared, in a time that does not tell how much of a key was right.
    right = [hmac.compare_digest(given, each.encode()) for each in keys]
    if not any(right):
        raise ApiError(
            401,
            "this server wants a key: Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def read_object(request, max_bytes, timeout_s):
    """The JSON object that is a request's body.

    Raises:
      ApiError: it is too large, too slow, or not that.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "the body must be JSON: Content-Type: application/json")
    body = parse(await read(request, max_bytes, timeout_s))
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    return body


async def read(request, max_bytes, timeout_s):
    # What is left of a body that is refused is not read: the connection ends.
    close = {"Connection": "close"}
    too_large = ApiError(
        413, f"the body is larger than {max_bytes} bytes (--max_body_bytes)", headers=close
    )
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        message = f"the body did not come within {timeout_s:g} s (--body_timeout_s)"
        raise ApiError(408, message, headers=close) from None
    return bytes(body)


def parse(body):
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # finds lone surrogates
    except UnicodeError:
        raise invalid("the body is not valid Unicode in UTF-8") from None
    except RecursionError:
        raise invalid("the body is nested too deeply") from None
    except ValueError as error:
        raise invalid(f"the body is not valid JSON: {str(error)[:200]}") from None
    return value


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")
