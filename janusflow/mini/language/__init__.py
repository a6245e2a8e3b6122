"""English and Korean for scenes: captions, plans, questions and their answers."""
