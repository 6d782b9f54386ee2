# reforkctl: its texts to the letter, its command line, and the whole of it against the real Bus.
refork_test(ctl_test
  SOURCES ctl_logs_test.cc ctl_program_test.cc ctl_render_test.cc ctl_text_test.cc ctl_why_test.cc
  LINK reforkctl_lib reforkd_bus)
