"""What US regulators charge a seller of shares, by date. In: closes. Out: the rates in force.

Two fees, on sales only. The SEC's under Section 31 of the Exchange Act is a share of the value
sold. FINRA's Trading Activity Fee (TAF; NASD's until 2007) is an amount per share, with a maximum
per trade, taken here as per order. A row holds from midnight New York of its first day until the
next row. Before the first row a fee is 0: that of an earlier day was not looked for (Section 31)
or did not exist (TAF).

What is simplified. The SEC goes by the charge date, which for a sale on an exchange is the
settlement (Rule 31(a)(3)): a sale in the last one to three sessions before a change pays the next
rate in truth, and that of its own day here. Brokers round each fee up to a cent. The fee of the
Consolidated Audit Trail, which buyers pay too, is not in here.

Where the rows come from, read in November 2026. A row names what was read for it; an advisory is
the SEC's fee rate advisory. Tables by others, which cite documents of the SEC and FINRA that were
not read here: traderstatus (traderstatus.com, SEC fee rates; read to 2005), arcis
(millerrc18/arcis, 2000-2026), Acash (Ratthabhumi/Acash, 2007-2024), tjh-trading
(tenzing-lunn/tjh-trading, 2016-2026).

- Rate and first day in a regulator's notice or a report of it, and again in a table:
  Section 31 of 1997, 2001, 2003 to January 2005, April 2008 to February 2012, March 2014, 2017 to
  2021, 2023 to 2025; TAF of 2003, 2004, 2011, March 2012.
- Rate in a notice or on a page of its time, first day in two tables or more only:
  Section 31 of 2002, April and December 2005, April 2012, 2013, 2016, 2022; TAF of July 2012, 2023,
  2024. The first days of Section 31 in March 2007 and January 2008 are 30 days after the
  appropriation was enacted, as the SEC had announced, and stand in two tables.
- Rate and first day in two tables or more only: Section 31 of 2015, 2026; TAF of 2022, 2026, 2027.
- In one place: TAF of 2002 (arcis). An announcement of October 2002 has 0.0001 and 10 US dollars
  instead; that NASD later called 0.0001 an increase agrees with arcis.
- From memory alone: none.

Rows that end. Section 31: 20.60 until 60 days after the SEC's appropriation of fiscal year 2027 is
enacted. TAF: the schedule of SR-FINRA-2024-019 for 2027 to 2029 (0.000232 and 11.61 US dollars in
2027) was put off by SR-FINRA-2026-020, which keeps the rates of 2026 until the end of 2028, and
SR-FINRA-2026-021 waives the fee in the last quarter of 2026.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

# Not the constant of ploutos.calendar, which would load Polars in every worker.
NEW_YORK = "America/New_York"
SECOND_NS = 1_000_000_000


class Section31Fee(NamedTuple):
    """The SEC's fee from a day on, in US dollars per million US dollars of sales."""

    since: date
    usd_per_million: float
    source: str


class TradingActivityFee(NamedTuple):
    """FINRA's fee from a day on, in US dollars: per share sold, and at most per trade."""

    since: date
    usd_per_share: float
    maximum_usd: float
    source: str


SECTION_31_FEES = (
    Section31Fee(date(1997, 1, 1), 33.33, "NASD Special Notice 96-81 (1/300 %); traderstatus"),
    Section31Fee(date(2001, 12, 28), 15.00, "advisory 8, 2002-01-16; traderstatus"),
    Section31Fee(date(2002, 4, 1), 30.10, "traderstatus; arcis; rate: NASD alert 2003-03-03"),
    Section31Fee(date(2003, 3, 22), 25.20, "advisory 12 of FY 2003; traderstatus"),
    Section31Fee(date(2003, 4, 1), 46.80, "advisory 12 of FY 2003; traderstatus"),
    Section31Fee(date(2004, 2, 22), 39.00, "NASD alert 2004-01-28; traderstatus"),
    Section31Fee(date(2004, 4, 1), 23.40, "NASD alert 2004-03-04; traderstatus"),
    Section31Fee(date(2005, 1, 7), 32.90, "advisory 6 of FY 2005; traderstatus"),
    Section31Fee(date(2005, 4, 1), 41.80, "traderstatus; arcis; rate: NASD alert 2005-09-30"),
    Section31Fee(date(2005, 12, 22), 30.70, "traderstatus; arcis; rate: SEC 2006-194"),
    Section31Fee(date(2007, 3, 17), 15.30, "arcis; Acash; rate: SEC 2006-194, 2007-89"),
    Section31Fee(date(2008, 1, 25), 11.00, "arcis; Acash; rate: SEC 2007-89, FINRA 3/10/08"),
    Section31Fee(date(2008, 4, 1), 5.60, "FINRA Information Notice 3/10/08; arcis"),
    Section31Fee(date(2009, 4, 10), 25.70, "Traders Magazine 2009-04-15; arcis"),
    Section31Fee(date(2010, 1, 15), 12.70, "SEC 2009-270 as on Lexology; arcis"),
    Section31Fee(date(2010, 4, 1), 16.90, "FINRA Information Notice 3/10/10; arcis"),
    Section31Fee(date(2011, 1, 21), 19.20, "SEC 2010-255; arcis"),
    Section31Fee(date(2012, 2, 21), 18.00, "Katten weekly digest, January 2012; arcis"),
    Section31Fee(date(2012, 4, 1), 22.40, "arcis; Acash; rate: advisory 2 of FY 2013"),
    Section31Fee(date(2013, 5, 25), 17.40, "arcis; Acash; rate: FINRA 3/3/14"),
    Section31Fee(date(2014, 3, 18), 22.10, "FINRA Information Notice 3/3/14; arcis"),
    Section31Fee(date(2015, 2, 14), 18.40, "arcis; Acash"),
    Section31Fee(date(2016, 2, 16), 21.80, "arcis; Acash; rate: FINRA 3/15/16"),
    Section31Fee(
        date(2017, 7, 4), 23.10, "advisory of FY 2017 as quoted on parkspotters.com; arcis"
    ),
    Section31Fee(date(2018, 5, 22), 13.00, "FINRA Information Notice 5/7/18; arcis"),
    Section31Fee(date(2019, 4, 16), 20.70, "advisory 2 of FY 2019; arcis"),
    Section31Fee(date(2020, 2, 18), 22.10, "Katten weekly digest, February 2020; arcis"),
    Section31Fee(date(2021, 2, 25), 5.10, "FINRA Information Notice of 2021; arcis"),
    Section31Fee(date(2022, 5, 14), 22.90, "arcis; Acash; rate: advisory of 2023-01-23"),
    Section31Fee(date(2023, 2, 27), 8.00, "advisory of 2023-01-23 as in New Telegraph; arcis"),
    Section31Fee(date(2024, 5, 22), 27.80, "advisory 2 of FY 2024 as in FTF News; arcis"),
    Section31Fee(date(2025, 5, 14), 0.00, "Security Traders Association; arcis"),
    Section31Fee(date(2026, 4, 4), 20.60, "arcis; tjh-trading (advisory 2 of FY 2026)"),
)

TRADING_ACTIVITY_FEES = (
    TradingActivityFee(date(2002, 10, 1), 0.000050, 5.00, "arcis"),
    TradingActivityFee(date(2003, 9, 1), 0.000100, 10.00, "NASD NTM 03-43; Elite Trader; arcis"),
    TradingActivityFee(date(2004, 11, 1), 0.000075, 3.75, "NASD NTM 04-84; FINRA 11-27; Acash"),
    TradingActivityFee(date(2011, 7, 1), 0.000090, 4.50, "FINRA Regulatory Notice 11-27; Acash"),
    TradingActivityFee(date(2012, 3, 1), 0.000095, 4.75, "FINRA Regulatory Notice 12-06; Acash"),
    TradingActivityFee(date(2012, 7, 1), 0.000119, 5.95, "arcis; Acash; rate: DriveWealth"),
    TradingActivityFee(date(2022, 1, 1), 0.000130, 6.49, "Acash; tjh-trading"),
    TradingActivityFee(date(2023, 1, 1), 0.000145, 7.27, "Acash; tjh-trading; brokerage-review"),
    TradingActivityFee(date(2024, 1, 1), 0.000166, 8.30, "Acash; arcis; brokerage-review"),
    TradingActivityFee(date(2026, 1, 1), 0.000195, 9.79, "arcis; tjh-trading (SR-FINRA-2024-019)"),
    TradingActivityFee(date(2026, 10, 1), 0.0, 0.0, "arcis and others (SR-FINRA-2026-021)"),
    TradingActivityFee(
        date(2027, 1, 1), 0.000195, 9.79, "three tables that cite SR-FINRA-2026-020"
    ),
)


def sell_fees(closed_at: np.ndarray) -> np.ndarray:
    """Return what a sale pays on the New York day on which each bar closed.

    Parameters
    ----------
    closed_at : (T,) int64
        Closes, ns UTC, in any order.

    Returns
    -------
    (T, 3) float64
        Section 31 fee as a fraction of the value sold, TAF in US dollars per share sold, and the
        maximum of the TAF per order in US dollars; 0 before the first row of a table.
    """
    section_31 = [(row.usd_per_million / 1e6,) for row in SECTION_31_FEES]
    activity = [(row.usd_per_share, row.maximum_usd) for row in TRADING_ACTIVITY_FEES]
    return np.hstack(
        (
            _in_force(closed_at, [row.since for row in SECTION_31_FEES], section_31),
            _in_force(closed_at, [row.since for row in TRADING_ACTIVITY_FEES], activity),
        )
    )  # (T, 1), (T, 2) -> (T, 3)


def _in_force(
    closed_at: np.ndarray, since: Sequence[date], rates: Sequence[tuple[float, ...]]
) -> np.ndarray:
    """Return the rates (T, C) that began last, 0 before the first of `since` (ascending)."""
    zone = ZoneInfo(NEW_YORK)
    midnights = [datetime(day.year, day.month, day.day, tzinfo=zone) for day in since]
    starts = np.array([int(one.timestamp()) * SECOND_NS for one in midnights], np.int64)
    none = (0.0,) * len(rates[0])
    return np.array([none, *rates])[np.searchsorted(starts, closed_at, side="right")]
