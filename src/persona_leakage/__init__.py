"""If fine-tuning makes one persona wrong, which other personas go wrong with it?"""
