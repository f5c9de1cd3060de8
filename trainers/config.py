"""Gin at the door: everything in a configuration that can be wrong is said here, at once.

`check` needs no TensorFlow; `load` hands gin what has been checked; `save` keeps it with the run.
"""

import contextlib
import os

import gin

from trainers import annotations, pretrained, scopes, settings
from trainers.annotations import quoted
from trainers.catalogue import MISSING, UNKNOWN, Catalogue
from trainers.errors import UserError
from trainers.settings import PARAM, REQUIRED, Macro, Reference, did_you_mean

NAME = "config.gin"
TEXT_SETTINGS = ("Experiment.tokenizer", "Experiment.vocabulary_size")


def check(gin_files, gin_params, model_dir=None, catalogue=None, called=()):
    """Reads a configuration and finds what is wrong with it.

    Args:
      gin_files: paths; when empty, the config.gin of `model_dir`.
      gin_params: strings such as "STEPS = 100", which have the last word.
      model_dir: folder of the run, or None.
      catalogue: of what can be configured; by default this repository's.
      called: names of what will be called with nothing but what the configuration sets.

    Returns:
      settings.Settings.

    Raises:
      UserError: the first thing that is wrong, where it stands and how to mend it.
    """
    if not gin_files:
        saved = os.path.join(model_dir or "", NAME)
        if not model_dir or not os.path.exists(saved):
            raise UserError(
                "--gin_file must be set: a recipe, as --gin_file=configs/recipes/quickstart.gin"
                + (f" ({model_dir} has no {NAME} to go on from)" if model_dir else "")
            )
        gin_files = [saved]
        config = settings.read(gin_files, gin_params)
    else:
        config = settings.read(gin_files, gin_params)
        pretrained.add(config)
    catalogue = catalogue or Catalogue()
    check_imports(config, catalogue)
    check_names(config, catalogue)
    check_macros(config)
    check_required(config, catalogue, called)
    check_types(config, catalogue)
    saved = gin_files == [os.path.join(model_dir or "", NAME)]
    files = [] if saved else [f"{settings.shown(settings.find(path))}:" for path in gin_files]
    scopes.check(config, (PARAM, *files))
    return config


def check_imports(config, catalogue):
    for module, where in config.imports.values():
        if not catalogue.add_import(module):
            raise UserError(f"{where}: there is no module {module}")


def check_names(config, catalogue):
    """Configurables and parameters exist."""
    for (_, selector, parameter), setting in config.bindings.items():
        found = find(selector, setting, catalogue)
        if found and not found.open and parameter not in found.parameters:
            raise UserError(
                f"{setting.where}: {found.name} has no {parameter}"
                + did_you_mean(parameter, found.parameters)
            )
    used = [config.macros[name] for name in config.used_macros() if name in config.macros]
    for setting in [*used, *config.bindings.values()]:
        for part in settings.parts(setting.value):
            if isinstance(part, Reference):
                find(part.name, setting, catalogue)


def find(selector, setting, catalogue):
    name = settings.bare(selector)
    found = catalogue.find(name)
    if found is None and catalogue.complete:
        raise UserError(
            f"{setting.where}: {selector} is nothing that can be configured"
            + did_you_mean(name, catalogue.names())
        )
    return found


def check_macros(config):
    """Macros that are set are used, and macros that are used are not misspelt."""
    used = config.used_macros()
    for name, setting in config.macros.items():
        # Files may set what another file overrides the use of; a user who does expects an effect.
        if name not in (used if setting.where == PARAM else config.mentioned):
            hint = did_you_mean(name, used) or f"; it has {', '.join(sorted(used))}"
            raise UserError(f"{setting.where}: {name} is no macro of this recipe{hint}")
    for setting in [*config.macros.values(), *config.bindings.values()]:
        for part in settings.parts(setting.value):
            if isinstance(part, Macro) and part.name in used and part.name not in config.macros:
                hint = did_you_mean(part.name, config.macros)
                if hint:
                    raise UserError(f"{setting.where}: {part.name} is set nowhere{hint}")


def check_required(config, catalogue, called):
    macros = config.macros
    missing = [n for n in config.used_macros() if n not in macros or macros[n].value == REQUIRED]
    for key, setting in config.bindings.items():
        if setting.value == REQUIRED:
            missing.append(settings.binding_name(*key))
    bound = {(scope, settings.bare(name), parameter) for scope, name, parameter in config.bindings}
    if not missing:  # a macro may bring more: INIT has the model
        missing = [
            f"{name}.{parameter}"
            for name in called
            for parameter, declared in catalogue.find(name).parameters.items()
            if declared.default is MISSING and ("", name, parameter) not in bound
        ]
    if missing:
        flags = " ".join(f"{PARAM}='{name} = ...'" for name in missing)
        raise UserError(f"{config.source}: {', '.join(missing)} must be set: {flags}")


def check_types(config, catalogue):
    for (_, selector, parameter), setting in config.bindings.items():
        found = catalogue.find(settings.bare(selector))
        declared = found and found.parameters.get(parameter)
        value = config.resolve(setting.value)
        if (
            not declared
            or repr(value) == repr(declared.default)
            or annotations.fits(value, declared.annotation)
        ):
            continue
        name = target = f"{selector}.{parameter}"
        while isinstance(setting.value, Macro):
            name, setting = setting.value.name, config.macros[setting.value.name]
        needed = annotations.described(declared.annotation)
        needs = f"{needed} is needed" + (f" ({target})" if name != target else "")
        if not isinstance(value, list | tuple) and not needed.startswith("one of"):
            needs += f", not {annotations.kind(value)}"
        meant = annotations.mended(value, declared.annotation)
        hint = f"; write {name} = {quoted(meant)}" if meant is not None else ""
        raise UserError(f"{setting.where}: {name} = {quoted(value)}: {needs}{hint}")


def differences(old, new, catalogue=None):
    """{"Configurable.parameter": (old value, new value)} where two Settings differ.

    Macros are resolved, and a parameter that one of them leaves alone has its default.
    """
    catalogue = catalogue or Catalogue()
    olds, news = old.flat(), new.flat()
    found = {}
    for key in dict.fromkeys([*olds, *news]):
        default = default_of(key, catalogue)
        pair = olds.get(key, default), news.get(key, default)
        if pair[0] != pair[1]:
            found[key] = pair
    return found


def default_of(key, catalogue):
    selector, parameter = key.rsplit("/", 1)[-1].rsplit(".", 1)
    configurable = catalogue.find(settings.bare(selector))
    declared = configurable and configurable.parameters.get(parameter)
    return declared.default if declared else UNKNOWN


def check_fits(model_dir, config, catalogue=None):
    """Refuses a configuration that describes another model than the checkpoints of `model_dir`.

    Steps, rates, data and strategy may change from run to run.
    """
    saved = os.path.join(model_dir, NAME)
    checkpoints = os.path.join(model_dir, "checkpoints")
    if not os.path.exists(saved) or not (os.path.isdir(checkpoints) and os.listdir(checkpoints)):
        return
    old = settings.read([saved])
    changed = differences(old, config, catalogue)
    model = old.flat().get("Experiment.model")
    if "Experiment.model" in changed:
        changed = {"Experiment.model": changed["Experiment.model"]}
    else:
        changed = {
            key: pair
            for key, pair in changed.items()
            if key in TEXT_SETTINGS
            or (isinstance(model, Reference) and key.rsplit(".", 1)[0] == model.scoped_name)
        }
    if changed:
        holds = ", ".join(f"{key} = {said(was)}" for key, (was, _) in changed.items())
        says = ", ".join(said(now) for _, now in changed.values())
        raise UserError(
            f"{model_dir} holds a model with {holds}; this config says {says}; "
            "use another --model_dir or the old value" + "s" * (len(changed) > 1)
        )


def said(value):
    return "nothing" if value is UNKNOWN or value is MISSING else quoted(value)


def load(config):
    """Gives gin a checked configuration in place of any before; all it names is registered.

    Raises:
      UserError: gin finds fault with it after all.
    """
    gin.clear_config()
    try:
        gin.parse_config_files_and_bindings([], config.text())
    except Exception as error:  # gin raises whatever an imported module does
        problem, *_ = str(error).split("\n")
        raise UserError(f"{config.source}: {problem}") from error


@contextlib.contextmanager
def in_place(config):
    """While it lasts gin holds another checked configuration; then all is as it was before.

    Raises:
      UserError: see `load`.
    """
    # What gin itself clears when it is to forget; it has no way to set this aside.
    names = ("_CONFIG", "_OPERATIVE_CONFIG", "_IMPORTS", "_SINGLETONS")
    parts = [getattr(gin.config, name) for name in names]
    before = [part.copy() for part in parts]
    try:
        load(config)
        yield
    finally:
        gin.clear_config()
        for part, held in zip(parts, before, strict=True):
            part.update(held)


def save(model_dir):
    """Writes what gin holds to `model_dir`/config.gin, whole or not at all.

    All bindings are there, used so far or not, with their macros, so that the file alone
    starts the run again and STEPS can still be set by hand. So are the defaults that have
    been used: a later version's may differ.
    """
    bound = settings.Settings()
    settings.read_text(bound, gin.config_str())
    used = settings.Settings()
    settings.read_text(used, gin.operative_config_str())
    defaults = settings.Settings()
    defaults.bindings = {k: s for k, s in used.bindings.items() if k not in bound.bindings}
    text = f"{bound.text()}\n# Defaults in use.\n{defaults.text()}"
    os.makedirs(model_dir, exist_ok=True)
    path = os.path.join(model_dir, NAME)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
