"""What a study leaves in its folder."""
