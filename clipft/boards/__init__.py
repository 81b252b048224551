"""Explorers as pages: views of runs that draw themselves, live or in a file that needs no kernel.

A board is a few views in the page that share alpha, the run and a selection of images. The same
JavaScript draws it everywhere (`board.js` and a file a view): live its state is a widget's and a
kernel answers its questions; in a saved page the answers lie beside it. `desk` answers, from
records alone; `page` writes the file; `scripts` joins the JavaScript. The room reads runs, data and
figures, and nothing of it needs torch. Start with desk.
"""
