"""The deal checker: which stored prices fire which watches, and what their users are told.

rules.py     one price and one rule: pure
matching.py  the prices of a series and the rules that watch it: pure
deciding.py  a run's history, watches and states, fetched a portion at a time
telling.py   evidence, and one notification a user and run
loop.py      `Checker`: run after run, one transaction each
watching.py  setting a watch, and what meets it already

Imports the store, and the inbox for its transaction; knows neither the API nor any transport.
"""
