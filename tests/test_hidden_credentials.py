"""Credentials of URLs: hidden in every spelling of a URL that a database driver accepts."""

from __future__ import annotations

import pytest

from encore.errors import Problem, RecipeError, hide_credentials, shown_command
from encore.experiments.study import check_storage


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/trials", "postgresql://me:***@host/trials"),
        (
            "postgresql+psycopg2://me:p@s3cret/w#s3cret?x@host:5432/db?sslmode=require",
            "postgresql+psycopg2://me:***@host:5432/db?sslmode=require",
        ),
        ("postgresql:///db?host=/tmp&user=me&password=s3cret", None),
        ("postgresql://host:5432/db?password=a@s3cret", "postgresql://host:***"),
        ("postgresql://me:%733cret@host/db?sslpassword=s3cret", None),
        ("mysql+pymysql://me:s3cret@host/db?ssl_key=s3cret&charset=utf8mb4", None),
        ("mysql://me:two words s3cret@host/db", "mysql://me:***@host/db"),
        ("sqlite:////tmp/trials.db?password=s3cret", "sqlite:////tmp/trials.db?password=***"),
        ("sqlite://me:s3cret@/trials.db", "sqlite://me:***@/trials.db"),
        ("postgres//me:s3cret@host", "postgres//me:***@host"),
        ("https://s3cret@hub.example/x?token=s3cret", "https://***@hub.example/x?token=***"),
    ],
)
def test_no_credential_of_a_url_is_shown(url: str, shown: str | None) -> None:
    for hidden in (
        hide_credentials(url, of=url),
        " ".join(shown_command(["encore", "tune", "--storage", url])),
        " ".join(shown_command(["encore", "tune", f"--storage={url}"])),
    ):
        assert "s3cret" not in hidden
        assert "733cret" not in hidden
        assert "***" in hidden
    if shown is not None:
        assert hide_credentials(url, of=url) == shown
    if " " not in url:  # within a sentence, a space ends it
        assert "s3cret" not in str(Problem(message=f"no answer from {url}, try again"))
    with pytest.raises(RecipeError) as caught:
        check_storage(url.replace("sqlite", "nosuch"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////tmp/trials.db",
        "postgresql://me@host:5432/db?host=/tmp",
        "postgresql://me@[::1]:5432/db",
        "https://docs.example/page#part",
        "a // b: c @ d",
        "plan.lr=1e-4",
        "me@host",
        "",
    ],
)
def test_what_holds_no_credential_is_left_as_it_is(text: str) -> None:
    assert hide_credentials(text) == text
    if " " not in text:
        assert shown_command([text]) == [text]


def test_a_credential_is_hidden_in_what_a_driver_says_of_it() -> None:
    url = "postgresql://me:s3%20cret@host/db?key=other"
    said = 'missing "=" after "s3 cret" (s3%20cret) in connection info, key other'
    assert hide_credentials(said, of=url) == (
        'missing "=" after "***" (***) in connection info, key ***'
    )
