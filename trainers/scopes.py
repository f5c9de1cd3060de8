"""What makes up a task stands in a gin scope of its name; here is found what is set past it."""

from trainers import settings
from trainers.errors import UserError
from trainers.settings import PARAM, Reference


def check(config, by_user):
    """What a user sets of a task has an effect: what makes it up stands in a scope of its own.

    Args:
      config: settings.Settings.
      by_user: what the places begin with where users set something themselves. Files that those
        include may set what others override.

    Raises:
      UserError: something has none, where it stands and what to write in its place.
    """
    asked = asked_by_tasks(config)
    for (scope, selector, parameter), setting in config.bindings.items():
        scopes = asked.get(bare(selector))
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
            scopes = asked.setdefault(bare(part.name), set())
            if scope in scopes:
                continue
            scopes.add(scope)
            waiting += [
                (scope, setting.value)
                for (of, selector, _), setting in config.bindings.items()
                if of in ("", scope) and bare(selector) == bare(part.name)
            ]
    return asked


def bare(name):
    """The name of a configurable without its module."""
    return name.rsplit(".", 1)[-1]
