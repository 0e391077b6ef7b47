"""The deal checker: which stored prices fire which watches, and what their users are told.

rules.py     one price and one rule: pure
best.py      the best price across stores: pure
matching.py  the prices of a series and the rules that watch it: pure
deciding.py  a run's history, watches and states, fetched a portion at a time
telling.py   evidence, and one notification a user and run
loop.py      `Checker`: run after run, one transaction each
watching.py  setting a watch, and what meets it already
bulk.py      setting many watches, in portions
ending.py    `Endings`: withdraws what has no deal left
explaining.py, asking.py  why a rule did or did not fire last, in words; and for all series of a watch
replay.py, backtest.py  what a rule would have told on the stored prices
money.py     prices in words
thinning.py  `Thinner`: old prices that no rule needs go

Imports the store, and the inbox for its transaction; knows neither the API nor any transport.
"""
