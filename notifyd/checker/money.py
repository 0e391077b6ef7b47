"""Prices in words. Pure, and light enough for commands to import."""

from __future__ import annotations

#: ISO 4217: currencies whose minor unit is not a hundredth.
_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def money(minor_units: int, currency: str) -> str:
    """`USD 3.87`; without a currency, hundredths are assumed."""
    decimals = _DECIMALS.get(currency, 2)
    if decimals == 0:
        return f"{currency} {minor_units}".strip()
    whole, part = divmod(minor_units, 10**decimals)
    return f"{currency} {whole}.{part:0{decimals}d}".strip()
