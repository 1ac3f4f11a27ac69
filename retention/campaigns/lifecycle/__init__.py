"""What a campaign is, and how it goes from a draft to its end."""
