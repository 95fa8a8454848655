"""Contract files for new topics: from answers, from a JSON Schema, or from the topic itself.

Each way ends in the same description of the message (:mod:`.description`), for which a key and
an order are chosen (:mod:`.choices`). It is written as a module (:mod:`.writer`), and the
module is tried out before it is kept (:mod:`.trial`).
"""
