"""What a person writes in search_spaces/*.yaml, and what it resolves to: networks, chips, objectives."""
