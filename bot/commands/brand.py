"""`brand`: check the brand file and show what e-mails get from it."""

from bot.commands.tree import Answer, Call, command


@command("brand", role="viewer")
def COMMAND(call: Call) -> Answer:
    """Check the brand file and the shop's own texts."""
    from retention.campaigns.message.brand import brand_path, load_brand
    from retention.campaigns.message.wording import load_wording, own_languages, shipped_languages

    settings = call.settings
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
