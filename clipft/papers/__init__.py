"""Every item of a paper by its number: our runs drawn beside the paper's numbers.

A door of the house: it may use every room, but imports those that need torch inside the function
that asks them. Start with `lipsum_ft`, whose `ITEMS` are rows of data; an `item.Item` says what one
is, `tables` and `planes` have what several items share, `published` the papers' numbers.
"""
