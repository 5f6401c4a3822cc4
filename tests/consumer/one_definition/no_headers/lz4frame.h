#error forkmap must not depend on whether this header is installed
