"""Gin files read without running them: what is set, to what, and where. Needs gin's parser."""

import dataclasses
import difflib
import glob
import os
import pprint
import re
import tokenize

from gin import config_parser

from trainers.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARAM = "--gin_param"


@dataclasses.dataclass(frozen=True)
class Reference:
    """`@scope/name`, or with `called` `@scope/name()`."""

    scoped_name: str
    called: bool = False

    @property
    def name(self):
        return self.scoped_name.rsplit("/", 1)[-1]

    def __repr__(self):
        return f"@{self.scoped_name}" + "()" * self.called


@dataclasses.dataclass(frozen=True)
class Macro:
    """`%name`."""

    name: str

    def __repr__(self):
        return f"%{self.name}"


REQUIRED = Macro("gin.REQUIRED")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A value and the place that gave it, as messages show it."""

    value: object
    where: str


class Settings:
    """What a list of gin files comes to; of two values for one name the later stands.

    Attributes:
      macros: {name: Setting}.
      bindings: {(scope, configurable, parameter): Setting}.
      imports: {statement: (module, where)}.
      mentioned: names of all macros that some value mentions, even one that a later replaces.
      source: the file that a message about the whole should name.
    """

    def __init__(self, source=""):
        self.macros = {}
        self.bindings = {}
        self.imports = {}
        self.mentioned = set()
        self.source = source

    def resolve(self, value):
        """`value` with macros replaced by what they stand for, where they are set."""
        if isinstance(value, Macro):
            setting = self.macros.get(value.name)
            return value if setting is None else self.resolve(setting.value)
        if isinstance(value, dict):
            return {self.resolve(key): self.resolve(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.resolve, value))
        return value

    def used_macros(self):
        """Names of the macros that bindings come to, straight or through other macros."""
        used = {}
        values = [setting.value for setting in self.bindings.values()]
        for value in values:
            for part in parts(value):
                if isinstance(part, Macro) and part.name not in used and part != REQUIRED:
                    used[part.name] = None
                    if part.name in self.macros:
                        values.append(self.macros[part.name].value)
        return list(used)

    def flat(self):
        """{"scope/Configurable.parameter": value}, macros resolved."""
        return {
            binding_name(*key): self.resolve(setting.value)
            for key, setting in self.bindings.items()
        }

    def text(self):
        """One gin text that says the same without includes."""
        used = set(self.used_macros())
        lines = list(self.imports)
        lines += [assignment(n, s.value) for n, s in self.macros.items() if n in used]
        lines += [assignment(binding_name(*k), s.value) for k, s in self.bindings.items()]
        return "".join(f"{line}\n" for line in lines)


def binding_name(scope, selector, parameter):
    return f"{scope}/{selector}.{parameter}" if scope else f"{selector}.{parameter}"


def bare(name):
    """The name of a configurable without its module."""
    return name.rsplit(".", 1)[-1]


def assignment(name, value):
    return f"{name} = {pprint.pformat(value, width=90, sort_dicts=False)}"


def parts(value):
    """All macros and references within a value."""
    if isinstance(value, Macro | Reference):
        yield value
    elif isinstance(value, dict):
        yield from parts([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)


def read(gin_files, gin_params=()):
    """Reads gin files, then single statements.

    An `include` is looked for as it is written, beside the file that includes it, and
    in the repository.

    Args:
      gin_files: paths.
      gin_params: strings such as "STEPS = 100".

    Returns:
      Settings.

    Raises:
      UserError: a file is missing or cannot be parsed.
    """
    settings = Settings(shown(find(gin_files[0])) if gin_files else PARAM)
    for path in gin_files:
        read_file(settings, find(path))
    for param in gin_params:
        read_text(settings, param)
    for name in settings.macros:
        check_not_circular(settings, name)
    return settings


def read_file(settings, path, including=()):
    if path in including:
        raise UserError(f"{shown(including[-1])}: includes {shown(path)}, which includes it")
    with open(path, encoding="utf-8") as file:
        read_text(settings, file.read(), path, including)


def read_text(settings, text, path=None, including=()):
    """Adds to `settings` what a text sets; without a path it is a --gin_param."""

    def place(line):
        return PARAM if path is None else f"{shown(path)}:{line}"

    def complain(number, message):
        lines = text.splitlines()
        number = min(number, len(lines))
        line = lines[number - 1].strip()
        return UserError(f"{place(number)}: {line}: {explained(line, message)}")

    try:
        for statement in config_parser.ConfigParser(text, Delegate()):
            where = place(statement.location.line_num)
            if isinstance(statement, config_parser.IncludeStatement):
                included = find(statement.filename, path, where)
                read_file(settings, included, (*including, path) if path else including)
            elif isinstance(statement, config_parser.ImportStatement):
                settings.imports[statement.format()] = statement.module, where
            elif isinstance(statement, config_parser.BindingStatement):
                add(settings, statement, where)
    except SyntaxError as error:
        raise complain(error.lineno, error.msg) from error
    except tokenize.TokenError as error:
        message, (number, _) = error.args
        raise complain(number, message) from error


def add(settings, statement, where):
    scope, selector, parameter, value, _ = statement
    setting = Setting(value, where)
    if parameter:
        settings.bindings[scope, selector, parameter] = setting
    else:
        settings.macros[f"{scope}/{selector}" if scope else selector] = setting
    settings.mentioned.update(part.name for part in parts(value) if isinstance(part, Macro))


class Delegate(config_parser.ParserDelegate):
    def configurable_reference(self, scoped_configurable_name, evaluate):
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name):
        return Macro(macro_name)


def check_not_circular(settings, name):
    seen, waiting = set(), [name]
    while waiting:
        for part in parts(settings.macros[waiting.pop()].value):
            if part == Macro(name):
                raise UserError(f"{settings.macros[name].where}: {name} is set to itself")
            if isinstance(part, Macro) and part.name in settings.macros and part not in seen:
                seen.add(part)
                waiting.append(part.name)


def explained(line, message):
    """A parser's complaint in a user's words; most often a text has lost its quotes."""
    bare = re.search(r"Failed to parse token '(\w+)'$", message)
    if not bare:
        return message
    literals = {"true": "True", "false": "False", "none": "None", "null": "None"}
    if bare[1].lower() in literals:
        return f"write {literals[bare[1].lower()]}"
    whole = re.fullmatch(r"(\S+)\s*=\s*([^\s\"'\[({]+)", line)
    return "a text needs quotes: " + (f'{whole[1]} = "{whole[2]}"' if whole else f'"{bare[1]}"')


def find(path, including=None, where=None):
    """The path at which a gin file exists."""
    path = os.path.expanduser(path)
    beside = [os.path.dirname(including)] if including else []
    for folder in ["", *beside, ROOT]:
        if os.path.isfile(os.path.join(folder, path)):
            return os.path.join(folder, path)
    known = []
    for folder in [os.path.dirname(path) or ".", os.path.join(ROOT, "configs", "recipes")]:
        for base in ["", *beside, ROOT]:
            known += glob.glob(os.path.join(base, folder, "*.gin"))
    known = {os.path.basename(name): shown(name) for name in reversed(known)}
    close = nearest(os.path.basename(path), known)
    hint = f"; did you mean {known[close]}?" if close else ""
    raise UserError(
        f"{where}: there is no file {path}{hint}" if where else f"{path}: no such file{hint}"
    )


def shown(path):
    """A path as messages show it: from the working directory where it lies in there."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def nearest(name, names):
    """The one of `names` that `name` may have been meant to be, or None."""
    folded = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.65)
    return folded[close[0]] if close else None


def did_you_mean(name, names):
    close = nearest(name, names)
    return f"; did you mean {close}?" if close else ""
