"""Tuning ready-made models: BERT (`bert`), a language model with LoRA (`sft`, `prefer`), its evaluation and its export."""
