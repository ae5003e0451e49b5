"""Money that goes back takes its credits with it; money that returns brings them back.

What a payment's refund or dispute may rely on:

* The purchase is named by the money key that `grant` was called with.
* Each call happens once per `key` for ever; a repeat, at once or years later, answers
  with the first movement and moves nothing.
* All claw-backs of a purchase together, less what was reinstated, never exceed what it
  granted. The database refuses it too.
* Order does not matter to safety: a refund that is heard of before its purchase raises
  `UnknownPurchase`, moves nothing, and may be tried again under the same key.
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

    Takes what is left of that grant, then the other credits in spending order, then
    what only other apps may spend; the rest becomes debt. What running jobs have
    reserved stays theirs. `amount_micro` is above 0. It never lacks credits; it raises
    `UnknownPurchase`, `ExceedsPurchase`, or `DuplicateKey` where the key has moved
    something else.
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
        Balance.of(row),
    )


def reinstate(
    *, account_id: UUID, claw_back_key: str, actor: str, reason: str, key: str
) -> Reinstated:
    """Give a whole claw-back back, once, for money that was won back.

    Forgives the debt that it made as far as it is still owed, and returns what it took
    to the very grants it came from; a grant that expired meanwhile lapses at once.
    Debt that was repaid meanwhile comes back as a grant on the purchase's own terms.
    `claw_back_key` is the `key` of the claw-back; where money may return in parts,
    claw it back in those parts. Raises `UnknownClawBack`, `AlreadyReinstated` (under
    another key), or `DuplicateKey` where the key has moved something else.
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
        row["movement_id"], row["outcome"] == "reinstated", Balance.of(row)
    )
