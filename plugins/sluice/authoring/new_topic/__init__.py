"""Contract files for new topics: from answers, from a JSON Schema, or from the topic's messages.

Each source gives the same description of the message (:mod:`.description`). A key and an order are
chosen for it (:mod:`.choices`). It becomes Python source (:mod:`.writer`), which is formatted
(:mod:`.formatter`) and tested before it is kept (:mod:`.trial`).
"""
