"""What a gin file may configure, read from source with `ast`: nothing here is imported to know it.

That is how a misspelt name is found in milliseconds, before TensorFlow's seconds. What
these names are at run time is registry.py's matter.
"""

import ast
import dataclasses
import functools
import glob
import importlib.util
import os

from trainers.settings import ROOT

UNKNOWN = object()  # a default that is no literal
MISSING = object()  # no default


@dataclasses.dataclass(frozen=True)
class Parameter:
    annotation: ast.expr | None
    default: object


@dataclasses.dataclass(frozen=True)
class Configurable:
    """A function or class, and its parameters by name; `open` if it takes others as well."""

    name: str
    parameters: dict[str, Parameter]
    open: bool


class Catalogue:
    """Everything under a repository's zoo/ and trainers/, and Keras' optimizers and callbacks.

    Attributes:
      modules: names of the modules in which something is `@gin.configurable`.
      models: names of the model classes among zoo's public names; zoo knows no gin.
    """

    def __init__(self, root=ROOT):
        self.modules = []
        self.models = []
        self.configurables = {}
        self.classes = {}
        zoo = os.path.join(root, "zoo")
        for path in sorted(glob.glob(os.path.join(zoo, "*.py"))):
            self.add_file(path, "zoo." + os.path.basename(path)[:-3])
        for path in sorted(glob.glob(os.path.join(root, "trainers", "**", "*.py"), recursive=True)):
            self.add_file(path, os.path.relpath(path, root)[:-3].replace(os.sep, "."))
        for name in public_names(os.path.join(zoo, "__init__.py")):
            # LanguageModel is what models are made from.
            if name in self.classes and name != "LanguageModel":
                self.models.append(name)
                self.configurables[name] = self.classes[name]

    def add_file(self, path, module):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = node
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for name in gin_names(node):
                    self.configurables[name] = node
                    if module not in self.modules:
                        self.modules.append(module)

    def add_import(self, module):
        """Adds a module or package that a gin file imports; returns whether there is one."""
        top, *rest = module.split(".")
        spec = importlib.util.find_spec(top)
        if spec is None:
            return False
        start = next(iter(spec.submodule_search_locations or ()), None) or spec.origin[:-3]
        path = os.path.join(start, *rest)
        files = glob.glob(os.path.join(path, "*.py")) or glob.glob(f"{path}.py")
        for file in files:
            self.add_file(file, module)
        return bool(files)

    @property
    def complete(self):
        """Whether a name that is not here is certainly nothing."""
        return bool(keras_classes())

    def names(self):
        return [*self.configurables, *(name for name in keras_classes() if is_public(name))]

    def find(self, name):
        """The Configurable of a name, without its module; None if there is none."""
        node = self.configurables.get(name)
        if node is not None:
            found, is_open = self.parameters(node)
            allowed = {key: found[key] for key in found if key not in denied(node)}
            return Configurable(name, allowed, is_open)
        if is_public(name):
            # Keras' **kwargs are there to refuse old names.
            return Configurable(name, self.parameters(keras_classes()[name])[0], open=False)
        return None

    def parameters(self, node):
        """({name: Parameter}, whether there may be more) of a function or class."""
        if isinstance(node, ast.FunctionDef):
            return of_function(node)
        own = constructor(node)
        if own is None:
            found, passes_on = fields(node) if is_dataclass(node) else {}, True
        else:
            found, passes_on = of_function(own)
            del found["self"]
        if not passes_on:
            return found, False
        if not node.bases:
            return found, own is not None
        base = self.base(ast.unparse(node.bases[0]).split(".")[-1], node)
        if len(node.bases) > 1 or base is None:
            return found, True
        inherited, is_open = self.parameters(base)
        return inherited | found, is_open

    def base(self, name, derived):
        ours = self.classes.get(name)
        # A class of ours may derive from Keras' of the same name.
        return keras_classes().get(name) if ours in (None, derived) else ours


def public_names(path):
    """`__all__` of a module."""
    for node in parsed(path).body if os.path.exists(path) else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def gin_names(node):
    """The name that a decorator `@gin.configurable` gives to a definition, in a list, or none."""
    for decorator in node.decorator_list:
        if ast.unparse(decorator) == "gin.configurable":
            return [node.name]
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "gin.configurable":
            names = [arg.value for arg in decorator.args if isinstance(arg, ast.Constant)]
            return names or [node.name]
    return []


def denied(node):
    """Names of the parameters that gin may not set."""
    calls = [each for each in node.decorator_list if isinstance(each, ast.Call)]
    given = [keyword for call in calls for keyword in call.keywords if keyword.arg == "denylist"]
    return [name for keyword in given for name in ast.literal_eval(keyword.value)]


def is_dataclass(node):
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def constructor(node):
    return next((n for n in node.body if getattr(n, "name", None) == "__init__"), None)


def of_function(node):
    arguments = node.args
    positional = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    found = {
        argument.arg: Parameter(argument.annotation, literal(default))
        for argument, default in zip(
            positional + arguments.kwonlyargs, defaults + arguments.kw_defaults, strict=True
        )
    }
    return found, arguments.kwarg is not None


def fields(node):
    return {
        field.target.id: Parameter(field.annotation, literal(field.value))
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    }


def literal(node):
    try:
        return MISSING if node is None else ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


@functools.cache
def keras_classes():
    """{name: class definition} of Keras' optimizers and callbacks; empty if it looks otherwise."""
    spec = importlib.util.find_spec("keras")
    folder = os.path.join(os.path.dirname(spec.origin), "src") if spec and spec.origin else ""
    paths = glob.glob(os.path.join(folder, "optimizers", "*.py"))
    paths += glob.glob(os.path.join(folder, "callbacks", "*.py"))
    nodes = [n for path in paths if not path.endswith("_test.py") for n in parsed(path).body]
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def is_public(name):
    node = keras_classes().get(name)
    return node is not None and any("keras_export" in ast.unparse(d) for d in node.decorator_list)


def parsed(path):
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read())
