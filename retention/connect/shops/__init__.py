"""Connected shops: orders, codes and webhooks."""
