"""schemathesis sends what the OpenAPI file allows and what it does not: no 5xx, and no answer that the file does not
have."""
import os
import subprocess
import sys
import unittest

import server

server.need_model()
server.need_clients()
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


class Schema(server.WithServer):
    flags = ("-c", "256")

    def test_answers_are_those_of_the_file(self):
        environment = dict(os.environ, PYTHONPATH=os.environ["EVENER_CLIENTS_DIR"], HOME=self.server.folder.name)
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", self.server.url + "/openapi.json", "--checks", CHECKS,
             "--seed", "1", "--max-examples", "60", "--request-timeout", "120", "--phases", "examples,coverage,fuzzing",
             "--no-color"], env=environment, cwd=self.server.folder.name, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stdout[-6000:] + run.stderr[-2000:])
        print(run.stdout[-1500:])


if __name__ == "__main__":
    server.main()
