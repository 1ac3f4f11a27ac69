"""Write the message of a customer: e-mail, short text, links and pictures."""
