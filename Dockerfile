# A reader over HTTP: docker build -t mnist_seq . && docker run --rm -p 8000:8000 -e MNIST_SEQ_TOKEN=... mnist_seq
# Another model: docker run ... mnist_seq run=pretrained:single; your own: -v $PWD/outputs:/outputs mnist_seq run=/outputs/...
FROM python:3.12-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir uv
# What changes seldom comes first, so that a change of the code leaves it cached. --torch-backend picks torch without CUDA.
COPY pyproject.toml requirements.lock ./
RUN uv venv /app && grep -E '^[a-zA-Z0-9_.-]+==' requirements.lock | sed 's/ *\\$//' | grep -vE '^(torch|torchvision|triton|nvidia-|cuda-)' > pins \
    && uv pip install --python /app/bin/python --torch-backend cpu --constraint pins --compile-bytecode --extra serve --extra onnx -r pyproject.toml
COPY . .
RUN uv pip install --python /app/bin/python --no-deps --compile-bytecode .

FROM python:3.12-slim
RUN useradd --system --no-create-home reader
COPY --from=build /app /app
USER reader
WORKDIR /tmp
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "mnist_seq.serve", "host=0.0.0.0", "port=8000"]
CMD ["run=pretrained:line"]
