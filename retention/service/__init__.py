"""Customer service: chats with the shop's customers, answered by quotations or by people."""
