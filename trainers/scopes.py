"""What makes up a task stands in a gin scope of its name; here is found what is set past it, or in a
scope that there is not."""

from trainers import settings
from trainers.errors import UserError
from trainers.settings import PARAM, Reference, did_you_mean


def check(config, by_user):
    """What a user sets in a scope, or of a task, whose parts stand in one of its own, has an effect.

    Args:
      config: settings.Settings.
      by_user: what the places begin with where users set something themselves. Files that those
        include may set what others override.

    Raises:
      UserError: something has none, where it stands and what to write in its place.
    """
    asked, entered = asked_by_tasks(config), entered_scopes(config)
    for (scope, selector, parameter), setting in config.bindings.items():
        scopes = asked.get(settings.bare(selector))
        if not scopes and setting.where == PARAM and scope not in entered:
            raise UserError(
                f"{PARAM}: {settings.binding_name(scope, selector, parameter)} has no effect here, "
                f"where nothing is in the scope {scope}{did_you_mean(scope, entered)}"
            )
        if not scopes or not setting.where.startswith(by_user) or scope in scopes:
            continue
        there = [config.bindings.get((asking, selector, parameter)) for asking in scopes]
        value = config.resolve(setting.value)
        overridden = all(own and config.resolve(own.value) != value for own in there)
        # A file may have scopes of more tasks than it is run with.
        if setting.where == PARAM if scope else overridden:
            names = [settings.binding_name(asking, selector, parameter) for asking in scopes]
            raise UserError(
                f"{setting.where}: {settings.binding_name(scope, selector, parameter)} has no effect "
                f"here; write {' or '.join(sorted(names))}"
            )


def asked_by_tasks(config):
    """{name of a configurable: scopes} of what Experiment.task is made of."""
    asked, task = {}, config.bindings.get(("", "Experiment", "task"))
    waiting = [("", task.value)] if task else []
    while waiting:
        outer, value = waiting.pop()
        for part in settings.parts(config.resolve(value)):
            if not isinstance(part, Reference):
                continue
            scope = part.scoped_name.rpartition("/")[0] or outer
            scopes = asked.setdefault(settings.bare(part.name), set())
            if scope in scopes:
                continue
            scopes.add(scope)
            waiting += [
                (scope, setting.value)
                for (of, selector, _), setting in config.bindings.items()
                if of in ("", scope) and settings.bare(selector) == settings.bare(part.name)
            ]
    return asked


def entered_scopes(config):
    """The scopes that something stands in that is asked for, and those around them; "" for none."""
    entered = {""}
    for setting in [*config.macros.values(), *config.bindings.values()]:
        for part in settings.parts(setting.value):
            if isinstance(part, Reference):
                *names, _ = part.scoped_name.split("/")
                entered |= {"/".join(names[:count]) for count in range(1, len(names) + 1)}
    return entered
