"""Take credits back when their money is refunded, and reinstate them if it returns.

A payment's refund or dispute may rely on this:

* The money key of its `grant` names the purchase.
* Each call happens once per `key` for ever. A repeat, now or years later, returns the
  first movement and moves nothing.
* All claw-backs of a purchase, less the reinstated ones, never exceed its grant. A
  constraint of the database refuses more, too.
* Any order is safe. A refund that arrives before its purchase raises `UnknownPurchase`
  and moves nothing. The caller may retry it under the same key.
"""

from uuid import UUID

from focus.money import from_micro
from wallet.ledger.calling import call, one_account_per_key
from wallet.outcomes import (
    AlreadyReinstated,
    Balance,
    ClawedBack,
    ExceedsPurchase,
    Reinstated,
    UnknownClawBack,
    UnknownPurchase,
)


def claw_back(
    *,
    account_id: UUID,
    purchase_key: str,
    amount_micro: int,
    actor: str,
    reason: str,
    key: str,
) -> ClawedBack:
    """Take credits of a paid grant back, for money that was refunded or is disputed.

    1. Takes the rest of that grant, then other credits in spending order, then credits
       that only other apps may spend.
    2. The missing part becomes debt, so a claw-back never lacks credits.

    Credits that jobs have reserved stay reserved. `amount_micro` is above 0. Raises
    `UnknownPurchase`, `ExceedsPurchase`, or `DuplicateKey` if the key has moved another
    account's credits.
    """
    with one_account_per_key():
        row = call(
            "SELECT * FROM ledger.claw_back(%(account)s, %(purchase)s, %(amount)s,"
            " %(actor)s, %(reason)s, %(key)s)",
            {
                "account": account_id,
                "purchase": purchase_key,
                "amount": amount_micro,
                "actor": actor,
                "reason": reason,
                "key": key,
            },
        )
    match row["outcome"]:
        case "unknown_purchase":
            raise UnknownPurchase("There is no such purchase.")
        case "exceeds_purchase":
            raise ExceedsPurchase(
                "The purchase granted less than this, or was clawed back before.",
                required=from_micro(amount_micro),
                left=from_micro(row["left_micro"]),
            )
    return ClawedBack(
        row["movement_id"],
        row["grant_id"],
        row["outcome"] == "clawed_back",
        row["taken_micro"],
        row["owed_micro"],
        Balance.from_row(row),
    )


def reinstate(
    *, account_id: UUID, claw_back_key: str, actor: str, reason: str, key: str
) -> Reinstated:
    """Reinstate a whole claw-back, once, because its money was won back.

    1. Forgives the claw-back's debt as far as it is still owed.
    2. Returns the drawn credits to the grants that they came from. A grant that has
       expired in the meantime expires at once.
    3. Grants the debt that was repaid in the meantime, on the purchase's terms.

    `claw_back_key` is the `key` of the claw-back. If money may return in parts, claw it
    back in those parts. Raises `UnknownClawBack`, `AlreadyReinstated` (under another
    key), or `DuplicateKey` if the key has moved another account's credits.
    """
    with one_account_per_key():
        row = call(
            "SELECT * FROM ledger.reinstate(%(account)s, %(claw_back)s, %(actor)s,"
            " %(reason)s, %(key)s)",
            {
                "account": account_id,
                "claw_back": claw_back_key,
                "actor": actor,
                "reason": reason,
                "key": key,
            },
        )
    match row["outcome"]:
        case "unknown_claw_back":
            raise UnknownClawBack("There is no such claw-back.")
        case "already_reinstated":
            raise AlreadyReinstated("This claw-back was given back before.")
    return Reinstated(
        row["movement_id"], row["outcome"] == "reinstated", Balance.from_row(row)
    )
