"""`brand`: check the brand file and show what e-mails get from it."""

from bot.commands.tree import Answer, Call, command
from retention.text import gettext


@command(
    "brand",
    role="viewer",
    help=gettext("What e-mails look like: the shop's name, colours, address, links and languages."),
)
def COMMAND(call: Call) -> Answer:
    """Check the brand file and the shop's own texts."""
    from retention.campaigns.brand import brand_path, load_brand
    from retention.campaigns.email_text import load_wording, own_languages, shipped_languages

    settings = call.services.settings
    brand, own = load_brand(settings), own_languages(settings)
    return Answer(
        "bot/brand",
        {
            "file": brand_path(settings).name,
            "path": str(brand_path(settings)),
            "has_file": brand_path(settings).is_file(),
            **brand.model_dump(mode="json"),
            "shop_language": load_wording(settings).name,
            "languages": sorted({*shipped_languages(), *own}),
            "own_languages": list(own),
        },
    )
