"""Files of the shop's page, which needs no build step."""
