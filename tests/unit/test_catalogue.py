"""The schema catalogue describes the behaviour of the contracts, determined by decoding samples."""

from datetime import date
from pathlib import Path
from random import Random

import msgspec
from click.testing import CliRunner, Result

from include.schemas.orders import contract as orders
from sluice.authoring.catalogue import page, pages
from sluice.authoring.examples import example_message
from sluice.authoring.version_samples import sample_path, samples_folder
from sluice.cli.main import main
from sluice.contract import Version, discover
from tests.unit.test_versions import people


def test_every_topic_has_a_page_with_fields_columns_versions_and_an_example() -> None:
    made = pages(discover(), samples_folder())
    assert set(made) == {"README.md", *(f"{topic}.md" for topic in discover())}
    text = made["orders.md"]
    assert "| `customer_email` | str (0 to 254 characters) | 1.1 | " in text
    assert "| `shipping_address_country` | `LowCardinality(String)` | `shipping_address" in text
    assert "| 1.2 | 2026-05-04 | adds `shipping_address`; older messages get `{" in text
    assert "| **1.0** | yes | yes | yes |" in text
    assert "## Known issues" in text
    assert '"order_id": "ord-' in text


def test_the_matrix_shows_which_consumers_a_version_breaks(tmp_path: Path) -> None:
    samples = {
        "1.0": b'{"id":"a","name":"Ada","age":3}',
        "1.1": b'{"id":"a","name":"Ada","age":3,"place":"x, y"}',
        "2.0": b'{"id":"a","full_name":"Ada","place":"x, y"}',
        "3.0": b'{"id":"a","full_name":"Ada","city":"x"}',
        "3.1": b'{"id":"a","full_name":"Ada","city":"x","score":"1"}',
    }
    for version in people.versions:
        path = sample_path(people, version, tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(samples[version.name])
    text = page(people, tmp_path)
    assert "| **3.1** | yes | yes | yes | yes | yes |" in text
    gone = "no: `age` was removed"
    assert f"| **1.1** | yes | yes | {gone} | {gone} | {gone} |" in text
    assert "| **3.0** | yes | yes | yes | yes | yes |" in text
    assert "| 2.0 | 2026-01-01 | renames `name` to `full_name`; removes `age` |" in text
    assert "converts older messages with `split_place`" in text


def test_a_page_that_is_not_up_to_date_fails_the_check(tmp_path: Path) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["schema", "docs", "--folder", str(tmp_path), *arguments])

    stale = run()
    assert stale.exit_code == 1
    assert "'sluice schema docs --write' repairs it" in stale.output
    assert run("--write").exit_code == 0
    assert run().exit_code == 0
    (tmp_path / "gone.md").touch()
    assert "gone.md does not belong to a contract" in run().output


def test_a_pipe_in_a_value_does_not_break_a_table() -> None:
    version = Version(name="1.3", released=date(2026, 6, 1), added={"customer_email": "a|b"})
    versions = (orders.versions[0], version)
    changed = msgspec.structs.replace(orders, versions=versions)
    assert 'older messages get `"a\\|b"`' in page(changed, samples_folder())
    assert example_message(changed, Random(1))
