"""Text and vision-language: encoders, drafted reports that are checked, questions, retrieval."""
