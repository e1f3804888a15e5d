from kvwrap.cli.main import main

raise SystemExit(main())
