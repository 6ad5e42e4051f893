"""How an engine is asked: over HTTP, page by page, by a watch, and with the `lifeline` program."""

import http.client
import json
import subprocess
import urllib.parse


class Engine:
    """A running engine."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)

    def get(self, path, **parameters):
        """The answer, as JSON."""
        target = f"{path}?{urllib.parse.urlencode(parameters)}"
        self.connection.request("GET", target)
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        return body if answer.status == 200 else {"status": answer.status, "code": body.get("code"), "body": body}

    def pages(self, path, cursor="after", **parameters):
        """All pages, one after the other. Each is at most `limit` long; later ones may be about a later state."""
        pages = [self.get(path, **parameters)]
        while pages[-1].get("next") is not None:
            pages.append(self.get(path, **{**parameters, cursor: pages[-1]["next"]}))
            if len(pages) > 1000:
                raise SystemExit(f"{path} {parameters} has no last page")
        return pages

    def watch(self, is_enough, **parameters):
        """What a watch sends until that is enough, or up to its first bookmark: [(event, data)]."""
        self.connection.close()
        self.connection.request("GET", f"/v1/watch?{urllib.parse.urlencode(parameters)}")
        answer, events, event = self.connection.getresponse(), [], None
        while not is_enough(events):
            name, _, value = answer.readline().decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                events.append((event, json.loads(value)))
                if event not in ("item", "removed"):
                    break
        self.connection.close()
        return events


def program(path, *arguments):
    """What the program prints as JSON."""
    done = subprocess.run([path, *arguments, "-o", "json"], capture_output=True, text=True, check=False)
    # 1 is also the answer of a status that has something to look at.
    if not done.stdout.startswith("{"):
        raise SystemExit(f"`lifeline {' '.join(arguments)}` failed ({done.returncode}): {done.stdout}{done.stderr}")
    return json.loads(done.stdout)
