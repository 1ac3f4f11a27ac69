"""Test which requests count as a machine's, with recorded headers."""

import pytest

from retention.outreach.machines import machine_reason

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/17.4 Mobile/15E148 Safari/604.1"
)


def _agent(name: str, **headers: str) -> dict[str, str]:
    more = {key.replace("_", "-"): value for key, value in headers.items()}
    return {"user-agent": name, "accept": "*/*", **more}


@pytest.mark.parametrize(
    ("reason", "headers"),
    [
        ("mail_privacy", _agent("Mozilla/5.0")),
        ("prefetch", _agent(f"{CHROME}Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0")),
        (
            "prefetch",
            _agent(f"{CHROME}Chrome/126.0.0.0 Safari/537.36", sec_purpose="prefetch;prerender"),
        ),
        ("prefetch", _agent(IPHONE, x_purpose="preview")),
        ("scanner", _agent("Barracuda Sentinel (EE)")),
        ("robot", _agent(f"{CHROME}HeadlessChrome/126.0.0.0 Safari/537.36")),
        ("robot", _agent("python-requests/2.26.0")),
        ("robot", _agent(IPHONE, **{"from": "googlebot(at)googlebot.com"})),
        ("robot", {"accept": "*/*"}),
    ],
)
def test_machine_is_recognised(reason, headers):
    assert machine_reason(headers) == reason


@pytest.mark.parametrize(
    "agent",
    [
        IPHONE,
        f"{CHROME}Chrome/126.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.10.1",
    ],
)
def test_person_is_no_machine(agent):
    assert machine_reason(_agent(agent)) is None
