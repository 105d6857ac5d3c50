from bridge import make_application

application = make_application()
