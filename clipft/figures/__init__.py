"""Figures: a record or a tidy table goes in, a plotly figure comes out.

A file holds what one diagnostic draws; `style` has the colours and the layout they share, `pages`
writes figures to disk and shows them in notebooks. Nothing is computed here besides means over
seeds and places of marks, and torch is never imported. Start at `trade_off.trade_off_figure`.
"""
