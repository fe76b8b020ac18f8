"""Whether fine-tuning one persona to be wrong makes others wrong with it, and which."""
