"""Connected shops: webhooks, codes and messages about them."""
