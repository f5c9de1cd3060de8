"""What is refused or goes wrong, as the error objects of OpenAI's interface."""

from starlette.responses import JSONResponse


class ApiError(Exception):
    """An answer that is an error.

    Args:
      status: of HTTP.
      message: a sentence for the user.
      param: the field of the request that is not right.
      code: a word that programs may look at.
      headers: of the answer.
    """

    def __init__(self, status, message, param=None, code=None, headers=None):
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}

    def body(self):
        """The JSON of it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        fields = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": fields}

    def response(self):
        return JSONResponse(self.body(), self.status, headers=self.headers)


def invalid(message, param=None, code=None):
    return ApiError(400, message, param, code)


def overloaded(max_queue):
    message = f"{max_queue} prompts are waiting already (--max_queue); try again later"
    return ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})


def stopping():
    return ApiError(503, "the server is stopping", code="stopping", headers={"Retry-After": "10"})


def timed_out(seconds):
    message = f"the answer was not complete after {seconds:g} s (--timeout_s)"
    # A client that tried again by itself would only add to the load.
    return ApiError(408, message, code="timeout", headers={"x-should-retry": "false"})


def failed():
    return ApiError(500, "the server failed on this request; its log has the reason")
