"""What the contracts of all families have in common: a promise is a method, a broken promise an AssertionError."""


class Contract:
    """What every member of a family promises. Each method `test_*` is one promise, which raises if it is broken.

    pytest and unittest run a subclass named `Test...` that names its member; `check` runs the promises without either.
    """

    @classmethod
    def promises(cls) -> tuple[str, ...]:
        """The names of the promises, in the order in which they are written down."""
        names = (name for of in reversed(cls.__mro__) for name in vars(of) if name.startswith("test_"))
        return tuple(dict.fromkeys(names))

    def broken_promises(self) -> dict[str, str]:
        """What the member breaks: promises, and what is wrong about each. An error in the member breaks a promise."""
        found = {}
        for name in self.promises():
            try:
                getattr(self, name)()
            except AssertionError as error:
                found[name] = str(error)
            except Exception as error:
                found[name] = f"  found: it raised {type(error).__name__}: {error}"
        return found

    def check(self) -> None:
        """Raises: AssertionError, which names every promise that the member breaks."""
        found = self.broken_promises()
        if found:
            summary = f"{len(found)} of {len(self.promises())} promises are broken"
            if len(found) > 1 and len(set(found.values())) == 1:  # one fault, and no promise could be tried
                raise AssertionError(f"{summary}, all alike: {next(iter(found.values())).strip()}")
            listed = "\n".join(f"{name.removeprefix('test_').replace('_', ' ')}:\n{why}" for name, why in found.items())
            raise AssertionError(f"{summary}\n{listed}")


def broken(must: str, found: str, mend: str) -> AssertionError:
    """What a broken promise raises: what must hold, what was found instead, how to mend it."""
    return AssertionError(f"  must: {must}\n  found: {found}\n  to mend: {mend}")
