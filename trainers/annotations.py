"""Whether a value from a gin file fits a parameter's annotation, given as syntax."""

import ast

from trainers.settings import Reference, nearest

SCALARS = {"int": int, "float": (int, float), "bool": bool, "str": str}
CONTAINERS = {"list": (list, tuple), "tuple": (list, tuple), "dict": dict}
SEQUENCES = ("Sequence", "list", "tuple")


def fits(value, annotation):
    """True unless the value is certainly of another type; what is not understood fits.

    Args:
      value: with macros resolved; a Reference for `@name`.
      annotation: ast.expr or None.
    """
    if annotation is None or (isinstance(value, Reference) and value.called):
        return True
    options = choices(annotation)
    if options:
        return value in options and type(value) in map(type, options)
    if isinstance(annotation, ast.BinOp):
        return fits(value, annotation.left) or fits(value, annotation.right)
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return value is None
    if isinstance(annotation, ast.Subscript) and name_of(annotation) in SEQUENCES:
        return isinstance(value, list | tuple) and all(
            fits(item, element(annotation)) for item in value
        )
    if name_of(annotation) == "Callable":
        return isinstance(value, Reference)
    if name_of(annotation) in SCALARS:
        is_bool = isinstance(value, bool)
        return isinstance(value, SCALARS[name_of(annotation)]) and (
            is_bool == (name_of(annotation) == "bool")
        )
    if name_of(annotation) in CONTAINERS:
        return isinstance(value, CONTAINERS[name_of(annotation)])
    return True


def described(annotation):
    """ "an int or None", "a list of str", 'one of "document", "line"'."""
    options = choices(annotation)
    if options:
        return "one of " + ", ".join(map(quoted, options))
    if isinstance(annotation, ast.BinOp):
        return f"{described(annotation.left)} or {described(annotation.right)}"
    if isinstance(annotation, ast.Subscript) and name_of(annotation) in SEQUENCES:
        return f"a list of {ast.unparse(element(annotation))}"
    if name_of(annotation) == "Callable":
        return "a reference, @name,"
    return "None" if ast.unparse(annotation) == "None" else with_article(ast.unparse(annotation))


def kind(value):
    """What a value is, in the words of `described`."""
    if value is None:
        return "None"
    return "a reference" if isinstance(value, Reference) else with_article(type(value).__name__)


def mended(value, annotation):
    """A value that fits and that the user may have meant, or None."""
    candidates = []
    if isinstance(value, str):
        texts = [option for option in all_choices(annotation) if isinstance(option, str)]
        candidates += [nearest(value, texts), as_literal(value)]
    elif isinstance(value, float) and value.is_integer():
        candidates.append(int(value))
    elif value in (0, 1):
        candidates.append(bool(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        candidates.append(str(value))
    candidates.append([value])
    fitting = (c for c in candidates if c is not None and fits(c, annotation))
    return next(fitting, None)


def quoted(value):
    """A value as a gin file would have it, texts in double quotes."""
    if isinstance(value, str) and '"' not in value:
        return '"' + repr(value)[1:-1].replace("\\'", "'") + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(quoted, value)) + "]"
    return repr(value)


def choices(annotation):
    """The values of a `Literal[...]`."""
    if isinstance(annotation, ast.Subscript) and name_of(annotation) == "Literal":
        listed = ast.literal_eval(annotation.slice)
        return listed if isinstance(listed, tuple) else (listed,)
    return ()


def all_choices(annotation):
    return [
        option
        for node in ast.walk(annotation)
        if isinstance(node, ast.expr)
        for option in choices(node)
    ]


def name_of(annotation):
    """ "Sequence" of `collections.abc.Sequence[str]`."""
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return ast.unparse(outer).split(".")[-1]


def element(annotation):
    """The item type of `Sequence[X]`, `list[X]`, `tuple[X, ...]`; Any where items differ."""
    inner = annotation.slice
    if isinstance(inner, ast.Tuple):
        different = {ast.unparse(item) for item in inner.elts} - {"..."}
        return inner.elts[0] if len(different) == 1 else ast.Name("Any")
    return inner


def as_literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def with_article(noun):
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
