export default function Page() {
  return (
    <main className="mx-auto max-w-xl p-12">
      <h1 className="text-3xl font-semibold">It runs.</h1>
      <p className="mt-4">
        This page is <code>src/app/page.tsx</code>. Change it, and it changes here.
      </p>
    </main>
  );
}
