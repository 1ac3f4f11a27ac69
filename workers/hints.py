"""Write the commands that help after an error. `retention` gives only their codes."""

from retention.errors import Refused
from retention.text import gettext


def sentence(error: BaseException) -> str:
    """Return what was wrong, and the command that helps."""
    hint = error.hint if isinstance(error, Refused) else None
    return f"{error} {commands()[hint]}" if hint else str(error)


def commands() -> dict[str, str]:
    """Return the sentence of each code."""
    retrain = gettext("`/retention retrain` makes a new model.")
    return {
        "alerts": gettext("`/retention alert list` shows all."),
        "campaigns": gettext("`/retention campaign list` shows all."),
        "holdout": gettext(
            "An admin switches it on with `/retention campaign holdout 5`: 5% of the customers "
            "then get no campaign."
        ),
        "models": gettext("`/retention models` shows all."),
        "other_model": gettext("`/retention models promote` uses another version.") + f" {retrain}",
        "policy": gettext("`/retention policy` shows all."),
        "policy_back": gettext('An admin takes it back with `/retention policy set "SETTING="`.'),
        "privacy_budget": gettext("`/retention privacy budget` shows what used it."),
        "proposals": gettext("`/retention policy proposals` shows all."),
        "recommend": gettext("`/retention recommend` makes a new one."),
        "retrain": retrain,
        "retrain_recommend": gettext("`/retention retrain recommend` makes a new model."),
        "save_audience": gettext(
            'Save one with `/retention audience save NAME "risk >= medium and value > 200"`.'
        ),
        "sources": gettext("`/retention source list` shows all."),
    }
