# The gallery in a container: docker build -t vitrine . && docker run -p 7860:7860 vitrine
FROM python:3.11-slim

# Nobody in here needs to be root, and a fixed number keeps mounted folders readable.
RUN useradd --create-home --uid 1000 vitrine
WORKDIR /srv/vitrine

# Packages before sources: a change of a page installs nothing again. The sources run where they
# lie, so the line that installs the project itself (-e) is left out; torch comes without CUDA.
COPY requirements.txt ./
RUN grep -v '^-e' requirements.txt > packages.txt \
    && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r packages.txt

COPY core core
COPY apps apps
COPY checkpoints checkpoints
COPY docs/pictures docs/pictures

USER vitrine
ENV PYTHONPATH=/srv/vitrine
ENV GRADIO_SERVER_NAME=0.0.0.0
ENV GRADIO_SERVER_PORT=7860
ENV GRADIO_ANALYTICS_ENABLED=False
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD python -c "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/healthz', timeout=4)"
CMD ["python", "apps/gallery.py"]
