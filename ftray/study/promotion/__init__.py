"""The parts of a promotion (`ftray.study.promote`), none of which reads the test window.

candidate  what is promoted, and whether training it is worth the time
draws      what the promoted trial was chosen from: how many independent trials, and how far seeds are apart
gate       whether luck explains what fresh seeds show, and whether those that are left can still open the gate
training   trains fresh seeds, with what it prints meanwhile
outcome    what a promotion found, as lines
"""
