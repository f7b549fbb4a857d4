"""A reconstruction held to normality in the manner of CNC (Wang et al., AAAI 2025).

A few vectors say what is normal in any category, by learned prompts where the encoder has a text tower; what the
decoder makes is pulled to them. Gated experts share the many kinds of normal tokens among themselves.
"""
