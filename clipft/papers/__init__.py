"""Every item of a paper by its number: our runs drawn beside the paper's numbers.

A door of the house: it may use every room, but imports those that need torch inside the function
that asks them. Start with `paper`, which says what a paper is; `lipsum_ft`, `flyp` and `wise_ft`
are one each, whose `ITEMS` are rows of data. An `item.Item` says what one is; `tables`, `planes`
and `curves` have what several items share, `published` the papers' numbers.
"""
