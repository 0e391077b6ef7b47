"""Telling users who are not there: mail, and webhooks by the same way.

policy.py    whom and when (pure)              retrying.py   when to try again (pure)
planner.py   decides on deliveries that are due, and puts messages into the outbox
sender.py    claims messages, has them carried, and notes what came of it
carrying.py  what a carrier is, and what can come of a try
letters.py   a mail's parts as MIME            wording.py    what it says: deals, prices, links
posting.py   the carrier of mail               smtp.py       SMTP by aiosmtplib, the only file that knows it
folder.py    mail as .eml files                webhooks.py   the carrier of webhooks' calls
opening.py   all of it, from the settings   example.py    a mail to look at

Imports the inbox and the store; knows neither the API nor any transport.
"""

from notifyd.mail.opening import Mail, make_mail

__all__ = ["Mail", "make_mail"]
