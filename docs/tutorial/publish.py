import sys

from fedora_messaging.api import publish, Message
from fedora_messaging.config import conf

conf.setup_logging()
message = Message(topic="tutorial.hello", body={"text": " ".join(sys.argv[1:])})
publish(message)
