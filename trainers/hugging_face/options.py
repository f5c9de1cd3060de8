"""What a config.json may say, and what a model may be, where one is to be the other."""

from trainers.errors import UserError


def refuse(model, config, **plain):
    """Raises UserError for a setting of config.json that is not as a model of the zoo has it."""
    for name, value in plain.items():
        if config.get(name, value) != value:
            raise UserError(
                f"{name} of config.json is {config[name]!r}; {model} has only {value!r}"
            )


def demand(model, settings, **wanted):
    """Raises UserError for a setting of a model that is not as Transformers have it."""
    for name, value in wanted.items():
        if settings[name] != value:
            raise UserError(f"{model}.{name} = {settings[name]!r}; Transformers has only {value!r}")


def chosen(known, value, name):
    """Ours of a value of config.json."""
    if value not in known:
        raise UserError(f"{name} of config.json is {value!r}, none of {', '.join(known)}")
    return known[value]


def back(known, value, name):
    """Theirs of a setting of ours."""
    for theirs, ours in known.items():
        if ours == value:
            return theirs
    raise UserError(f"{name} = {value!r}; Transformers' has {', '.join(known.values())}")
